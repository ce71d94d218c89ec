"""`amn-scanner doctor`: looks at all that the daemon depends on, and says what to change."""
