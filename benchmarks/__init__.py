"""What brim's figures are measured with: `python -m benchmarks`. Nothing here is timed inside a test."""
