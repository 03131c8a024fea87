"""The hostile harness: crowds that mean no good, and long times, and what a server and good clients feel of them."""
