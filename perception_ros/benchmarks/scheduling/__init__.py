"""The scheduler beside other policies, in invented traffic: pure and seeded, without a clock."""
