"""What commands of the command line do, beyond reading their arguments."""
