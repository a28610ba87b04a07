"""The pure heart: words, policy, evidence and decisions. No await, I/O, clock, randomness or logging in here."""
