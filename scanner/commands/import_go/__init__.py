"""`amn-scanner import-go`: takes over what the scanner written in Go was waiting for."""
