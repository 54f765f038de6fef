"""Videos as the images a model is shown, and the video model.

A clip becomes a mosaic of frames over its whole time and a few still frames. `frames` reads files
and lays out images, `dataset` does so for the clips of a run and makes the rows of training,
`pretraining` warms the mini student up on mosaics, `model` is the video model.
"""
