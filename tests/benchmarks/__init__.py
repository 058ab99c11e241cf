"""Measurements: what the README and the closing notes of issues quote; run by `make experiments` and `make bench`."""
