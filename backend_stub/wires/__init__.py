"""The wire formats: each module reads one kind of body and turns the pieces of an answer into its frames."""
