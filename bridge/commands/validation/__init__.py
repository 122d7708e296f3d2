"""What `validate` is made of: its arguments, the load, what devices heard, the verdict, its report."""
