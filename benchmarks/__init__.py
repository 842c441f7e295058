"""What a message costs, always beside what the same machine needs for one RSA-2048 signature in the same seconds.

`make bench` runs it. Times of a shared machine are noise and ratios are not, so ratios are what is kept and compared.
"""
