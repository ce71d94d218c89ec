"""The daemon: joins what chains tell with what backends wait for, and keeps the state."""
