"""The page in other languages than English, in which all of it is written: each sentence finds its translation when it
leaves for a visitor who reads another.
"""
