"""Other servers beside ours, under the same simulated peers."""
