"""The scheduler's pure core: plain values in, plain values with reasons out, `now` passed in."""
