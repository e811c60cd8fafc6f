"""Inventory's decisions: facts of a member in, messages out. No client library is imported here."""
