"""Tables and plots of scaling studies, from run records. Needs matplotlib and nothing else of this repository."""
