"""scikit-learn estimators: a VAE that imputes, gives densities, detects outliers or makes features.

X is an array or frame of numbers, (n_samples, n_features), or a pandas frame with columns of texts,
categories or dates. Every column of numbers is continuous, and NaN is a missing cell, also in training. A
mixed frame is read as by `backstory.load`, which infers from the training rows what each column holds
(`options={"columns": …}` overrides it), and rows come back as frames.

An estimator is pickled as the files of a run, JSON and safetensors, never as a PyTorch module. After
training it computes in double precision, so that the answer for a row does not depend on the rows beside
it. Draws are the
exception: the noise in imputed means depends on a row's position.
"""
