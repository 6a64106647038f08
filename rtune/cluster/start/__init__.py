"""What is checked and prepared before Ray starts or is joined."""
