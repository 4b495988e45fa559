"""The console command `prism`: everything that a user runs."""
