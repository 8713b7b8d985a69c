"""Cost of a network: parameters, multiply-adds and activation memory."""
