// Package control is how `akprox sessions` gets at the sessions: of a store
// that this process has open (Own), or of the akprox that has it open, through
// a socket in the store's folder (Serve and Dial). The socket answers two
// requests, and the folder's permissions say who may ask: nobody but the user
// that akprox runs as. No token, claim or cookie goes through it.
package control
