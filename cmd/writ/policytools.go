package main

type policyToolsCmd struct{}
