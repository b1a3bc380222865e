% rig near
% zenith and azimuth in degrees, a row a flash
LightSource = [
    35.000 45.000;
    35.000 135.000;
    35.000 -135.000;
    35.000 -45.000];
