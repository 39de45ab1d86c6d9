"""How fast training and prediction are: beside a plain way of computing the same, and against the machine's limits."""
