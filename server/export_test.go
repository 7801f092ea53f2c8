package server

// LapseDue gives back all that has lapsed by now, at once.
var LapseDue = (*Server).lapseDue
