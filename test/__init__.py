"""The tests, in the tree of xget_lib with test_ in front. A package, because Python has one named `test` of its own."""
