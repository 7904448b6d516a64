"""Bulk runs: what they keep of the engine's speed, their memory, kills, workers, and how soon they go on."""
