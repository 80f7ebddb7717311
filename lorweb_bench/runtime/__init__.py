"""What every command needs while it runs: files, worker processes, plug-ins, progress, settings."""
