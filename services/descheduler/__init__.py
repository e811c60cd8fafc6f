"""The descheduler: it finds replicas that are stuck in a member and asks the scheduler to move them.

core/ decides what is stuck (`stuck`) and when to ask (`asking`); `descheduler` follows the streams and the clock.
"""
