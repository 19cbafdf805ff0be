Bgemm_outJ
ávsåwä}pèy