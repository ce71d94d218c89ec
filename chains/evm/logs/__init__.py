"""Reading event logs: how they are asked for, what each endpoint accepts, how a page is decoded and proven."""
