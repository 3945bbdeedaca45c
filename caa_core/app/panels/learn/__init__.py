"""The Learn tab: a lesson of steps, each with a prediction, an experiment of another tab, and a check of the run."""
