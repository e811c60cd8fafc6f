"""What the descheduler decides: functions from plain values to plain values, with the time as an argument."""
