"""How late the gateway answers, and with what faults: profiles and the draws from them."""
