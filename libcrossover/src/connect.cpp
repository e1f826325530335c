// Turns options into real adapters; the only file that knows all of them.
