"""How units are scheduled. A backend calls `pipeline.run_unit` and decides nothing else."""
