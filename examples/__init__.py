"""Three programs on Foldlog: a bank in one page, a shop by choreography, a real log of purchase orders."""
