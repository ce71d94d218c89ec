"""What stands between the network and a web application."""
