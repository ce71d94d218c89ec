"""The pages of admins and resolvers: rendered here, everything through the use cases of the API."""
