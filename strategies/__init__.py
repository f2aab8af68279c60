"""Transfer strategies: one public module a strategy, its path is its name (`cross_domain/spectf`)."""
