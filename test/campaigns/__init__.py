"""Long campaigns: commands of their own, with a short version of each in the test suite."""
