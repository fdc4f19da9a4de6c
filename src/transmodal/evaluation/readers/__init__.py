"""Reader studies: blinded studies made, shown in the browser, and analysed."""
