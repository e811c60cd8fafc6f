"""The demo: scenarios played on this machine, and seen in the members' own APIs."""
