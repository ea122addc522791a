"""How fast and how large a model's components are on this machine, beside stock ones (the paper's table 2)."""
