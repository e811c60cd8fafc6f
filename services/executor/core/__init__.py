"""What the executor decides: functions from plain values to writes. No client library is known here."""
