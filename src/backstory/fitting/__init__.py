"""From data to a trained model: `fitting.fit.fit`, and its parts."""
