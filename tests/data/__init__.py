"""Images that tests make for themselves, small and with a known answer."""
