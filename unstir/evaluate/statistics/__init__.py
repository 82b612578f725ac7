"""Intervals and resampling: numpy and the standard library only, no pictures, no files, no global generator."""
