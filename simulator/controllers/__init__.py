"""The controllers of a simulated member, each level-triggered over the store."""
