"""What a fleet of connections costs, how late its closes are, and which quota ends it.

Pure: numbers in, numbers and text out. The one thing that is read is the price file of the package.
"""
