"""What an operator does beside serving: keys, secrets, checks. Each command is a module, `cli` puts them together."""
