"""The console command `prism`: everything that a person runs."""
