"""Other ways to the same answer on the same GPU, one module each. None of their packages is loaded before it runs."""
